"""What need not be told, and how much a host matters: whitelist, maintenance windows, assets."""
