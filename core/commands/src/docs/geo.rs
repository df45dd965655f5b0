//! Documentation of the commands for places on the earth.

use super::{Doc, doc};

pub(super) static DOCS: &[Doc] = &[
    doc("geoadd", "3.2.0", "O(log(N))", "Puts places into a geo index.").takes("@key [condition(!NX|!XX)~6.2.0] [!CH:change~6.2.0] data{%longitude %latitude member}...").keys(&["RW update @ 1 : 0 1 0"]),
    doc("geodist", "3.2.0", "O(1)", "Gives the distance between two places.").takes("@key member1 member2 [unit(!M|!KM|!FT|!MI)]").keys(&["RO access @ 1 : 0 1 0"]),
    doc("geohash", "3.2.0", "O(1)", "Gives the geohash of places.").takes("@key [member...]").keys(&["RO access @ 1 : 0 1 0"]),
    doc("geopos", "3.2.0", "O(1)", "Gives longitude and latitude of places.").takes("@key [member...]").keys(&["RO access @ 1 : 0 1 0"]),
    doc("georadius", "3.2.0", "O(N+log(M))", "Finds the places around a point; can store them.").takes("@key %longitude %latitude %radius unit(!M|!KM|!FT|!MI) [!WITHCOORD] [!WITHDIST] [!WITHHASH] [count-block{COUNT=#count [!ANY~6.2.0]}] [order(!ASC|!DESC)] [store(STORE=@storekey/key|STOREDIST=@storedistkey/key)]").keys(&["RO access @ 1 : 0 1 0", "OW update @ STORE 6 : 0 1 0", "OW update @ STOREDIST 6 : 0 1 0"]).replaced("6.2.0", "GEOSEARCH and GEOSEARCHSTORE with BYRADIUS"),
    doc("georadius_ro", "3.2.10", "O(N+log(M))", "Finds the places around a point.").takes("@key %longitude %latitude %radius unit(!M|!KM|!FT|!MI) [!WITHCOORD] [!WITHDIST] [!WITHHASH] [count-block{COUNT=#count [!ANY~6.2.0]}] [order(!ASC|!DESC)]").keys(&["RO access @ 1 : 0 1 0"]).replaced("6.2.0", "GEOSEARCH with BYRADIUS"),
    doc("georadiusbymember", "3.2.0", "O(N+log(M))", "Finds the places around a place; can store them.").takes("@key member %radius unit(!M|!KM|!FT|!MI) [!WITHCOORD] [!WITHDIST] [!WITHHASH] [count-block{COUNT=#count [!ANY]}] [order(!ASC|!DESC)] [store(STORE=@storekey/key|STOREDIST=@storedistkey/key)]").keys(&["RO access @ 1 : 0 1 0", "OW update @ STORE 5 : 0 1 0", "OW update @ STOREDIST 5 : 0 1 0"]).replaced("6.2.0", "GEOSEARCH and GEOSEARCHSTORE with BYRADIUS and FROMMEMBER"),
    doc("georadiusbymember_ro", "3.2.10", "O(N+log(M))", "Finds the places around a place.").takes("@key member %radius unit(!M|!KM|!FT|!MI) [!WITHCOORD] [!WITHDIST] [!WITHHASH] [count-block{COUNT=#count [!ANY]}] [order(!ASC|!DESC)]").keys(&["RO access @ 1 : 0 1 0"]).replaced("6.2.0", "GEOSEARCH with BYRADIUS and FROMMEMBER"),
    doc("geosearch", "6.2.0", "O(N+log(M))", "Finds the places in a circle or a box.").takes("@key from(FROMMEMBER=member|FROMLONLAT=fromlonlat{%longitude %latitude}) by(circle{BYRADIUS=%radius unit(!M|!KM|!FT|!MI)}|box{BYBOX=%width %height unit(!M|!KM|!FT|!MI)}) [order(!ASC|!DESC)] [count-block{COUNT=#count [!ANY]}] [!WITHCOORD] [!WITHDIST] [!WITHHASH]").keys(&["RO access @ 1 : 0 1 0"]),
    doc("geosearchstore", "6.2.0", "O(N+log(M))", "Stores the places in a circle or a box.").takes("@destination @source from(FROMMEMBER=member|FROMLONLAT=fromlonlat{%longitude %latitude}) by(circle{BYRADIUS=%radius unit(!M|!KM|!FT|!MI)}|box{BYBOX=%width %height unit(!M|!KM|!FT|!MI)}) [order(!ASC|!DESC)] [count-block{COUNT=#count [!ANY]}] [!STOREDIST]").keys(&["OW update @ 1 : 0 1 0", "RO access @ 2 : 0 1 0"]),
];
