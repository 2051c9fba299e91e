"""Response: addresses that are blocked, by people and by rules, through one interface (:mod:`jobs.response.responder`)."""
