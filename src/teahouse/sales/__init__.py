"""The shop: products, flash sales, purchases, orders and their payments."""
