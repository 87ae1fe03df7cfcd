"""What a verdict is made of: evidence by cluster, rules for each kind of claim, validity, and multiplicity."""
