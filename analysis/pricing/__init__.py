"""What a call costs: the price book, what documents and the user say beside it, and what of it holds for a call."""
