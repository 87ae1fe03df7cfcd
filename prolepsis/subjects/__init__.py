"""What is loaded and asked: models of several families, their tasks, pairs and published protocols, and twins."""
