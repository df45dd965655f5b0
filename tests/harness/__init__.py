"""What every suite needs: servers of either kind on free loopback ports, and a raw RESP client."""
