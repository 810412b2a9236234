"""The bring-up by hand and by the product, in turn on the same machine: `make bench`."""
