"""The stages of a run: each turns models and records into the next record in the run folder."""
