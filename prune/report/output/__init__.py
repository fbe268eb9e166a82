"""What the report writes: tables, figures, the terminal's text and the page."""
