"""Generation: tokens chosen one after another, from whatever gives the logits that follow."""
