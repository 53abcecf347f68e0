"""For each family of models, which published weight has which name here: one file per family."""
