"""The demo: the whole way from a network to files for devices, on real data, in a minute or two.

``kerasurgeon demo`` runs it. It trains a small residual network on handwritten digits, shrinks it with every built-in
pass, fine-tunes what is left, exports it, and runs every file on images that were kept apart.
"""
