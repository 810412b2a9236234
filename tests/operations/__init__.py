"""What an operator does to a running cluster, and what happens to it: drift, removal, resume, secrets."""
