"""Masks of images, in which each pixel holds the index of its class: reading, resizing and drawing."""

IGNORED = 255  # in masks: pixels of no class, which enter neither the loss nor a score
