"""The study of docs/proving.md: what is measured (``rows``), at what sizes (``plan``), what follows (``verdicts``)."""
