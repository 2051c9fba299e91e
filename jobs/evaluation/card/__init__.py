"""The model card: one page that says what a model is, how good, and what it cannot see (Mitchell et al., "Model Cards", 2019)."""

from jobs.evaluation.card.page import CardFacts, card

__all__ = ["CardFacts", "card"]
