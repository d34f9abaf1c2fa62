"""Records in words and data: elements of a page, findings, verdict, alerts, metadata, the view."""
