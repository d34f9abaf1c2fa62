"""Sections: the parts of a page, each made from the records that it shows."""
