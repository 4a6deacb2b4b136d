"""Training: the loop, its schedules, and the state that lets it be continued."""
