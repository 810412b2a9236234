"""Everything the lab's nodes fetch: binaries, charts, images and Debian packages, under their upstream names.

`python -m lab.artefacts` fills the mirror, the registry's storage and the apt repository in the lab's cache. What the
vendors' sites give (and pillar/versions.sls pins) is downloaded; the rest is built from its published Go module.
"""
