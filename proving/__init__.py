"""The proving ground: specialists of pretrained models by other people, and a study of what the MRI is worth there.

    make proving            # fetch, build the siblings from the committed adapters, run the short study, one page
    make proving FULL=1     # the whole study of docs/proving.md

``bases`` fetches the models, ``subjects`` are what specialists know and are asked, ``recipes`` and ``training`` make
them, ``adapters/`` holds those that were trained, ``study`` asks the questions. Nothing here is in the wheel.
"""
