"""Small synthetic corpora in the on-disk layouts of the six real ones: `python -m datasets.demo`.

Everything here is synthetic: no recording, no performer, no archive is behind it. The corpora
exist to run the whole path of the project in minutes; a result on them says nothing about music.

From sound to files: `timbres` and `percussion` (what an instrument sounds like), `synthesis`
(notes to samples), `scales`, `rhythms` and `phrases` (what it plays), `recipes` (what a corpus
consists of and how it is tagged), `design` (which recording is what, and in which split),
`layouts` (the files), `corpus` (all of it, once or resumed).
"""
