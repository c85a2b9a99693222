"""How models are trained: the LightningModule, the techniques around it, run folders and resumption."""
