"""What the models see: data sets by name, each as `kdlib.data.image_set.Splits` of labelled sets."""
