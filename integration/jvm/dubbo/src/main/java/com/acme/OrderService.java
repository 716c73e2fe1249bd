package com.acme;

public interface OrderService {
    String find(String id);
}
