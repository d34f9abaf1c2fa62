"""Pages: which sections stand on the page of a run, of several runs, and of an arena."""
