"""The whole cluster goes and comes again: off its machines, and with them."""
