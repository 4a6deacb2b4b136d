"""What comes after training: scores of the test recordings, metrics, reports and plots."""
