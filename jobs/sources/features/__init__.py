"""Flows that another meter has computed, in CICFlowMeter's columns or ours: checked, scored by the champion, stored like our own."""
