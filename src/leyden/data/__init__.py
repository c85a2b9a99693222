"""Examples as tensors: reading images, the packed arrays, the LightningDataModule, batched augmentation."""
