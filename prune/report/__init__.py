"""Result files -> statistics, tables, figures and a page. Nothing here runs a model or needs torch."""
