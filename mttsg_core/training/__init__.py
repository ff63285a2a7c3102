"""From pairs to a trained network: sampling, augmentation, losses, the loop."""
