"""Renderers: a page as HTML, as Markdown and in a terminal; tables in notebooks."""
