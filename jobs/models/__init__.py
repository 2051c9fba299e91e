"""The life of a registered model: compared, promoted through gates, taken back, retired, trained anew."""
