"""eegviz: reconstruct music from EEG, and see, hear and doubt the result.

Importing the package loads nothing heavy; import the module you need::

    from eegviz import store, features, splits, training, runs, evaluation, inversion
"""

__version__ = "0.1.0"
