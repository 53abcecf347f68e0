"""From a folder of texts to shards of tokens: read, clean, leave out what repeats, tokenize."""
