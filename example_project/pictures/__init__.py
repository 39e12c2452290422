"""Pictures that people upload, and what is made of them."""
