"""Watches Eureka: Spring Cloud's and Netflix' servers, one cluster as one source."""
