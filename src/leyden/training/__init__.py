"""Training: the LightningModule and the techniques around it, run folders and resumption.

What enters the loss is a group of the module's arguments; what acts around the step is a callback; what changes the
network is a function on a network.
"""
