"""The program: configuration, pipeline, admin interface and command line."""
