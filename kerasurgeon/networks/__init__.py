"""Networks to start from: segmentation models on a backbone, small residual networks."""
