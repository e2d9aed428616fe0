"""How a job is submitted, held back, repeated or looked up."""
