"""What the models see: data sets by name, each as `kdlib.data.labelled_set.Splits` of labelled sets."""
