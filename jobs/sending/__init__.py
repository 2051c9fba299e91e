"""What the commands of sensors share, of whatever source: options, and settings with logging set up."""
