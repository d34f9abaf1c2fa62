"""The stages of a run: one file, one stage of the manifest, one public function ``stage(run, parents, *records)``."""
