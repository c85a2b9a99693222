"""Examples as tensors: the packed arrays, the LightningDataModule, batched augmentation."""
