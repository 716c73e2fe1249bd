"""Our minimal protobuf definitions of Istio's messages, and what is generated from them."""
