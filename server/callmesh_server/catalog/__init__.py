"""What others see of our instances, and what we see of theirs."""
