"""What is measured: the catalogue of metrics, and what each event of the flows adds to them."""
