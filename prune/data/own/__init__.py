"""Sets of the user's own: from the columns of their files to texts and questions."""
