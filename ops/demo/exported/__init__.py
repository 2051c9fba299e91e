"""The demo of flow exporters (:mod:`ops.harness.exported`): :mod:`.run` runs it, :mod:`.report` tells a person, and draws the page."""
