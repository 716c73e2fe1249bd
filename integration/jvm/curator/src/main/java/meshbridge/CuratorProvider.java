package meshbridge;

import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.retry.RetryOneTime;
import org.apache.curator.x.discovery.ServiceDiscovery;
import org.apache.curator.x.discovery.ServiceDiscoveryBuilder;
import org.apache.curator.x.discovery.ServiceInstance;
import org.apache.curator.x.discovery.ServiceInstanceBuilder;
import org.apache.curator.x.discovery.ServiceType;
import org.apache.curator.x.discovery.UriSpec;
import org.apache.curator.x.discovery.details.JsonInstanceSerializer;

/**
 * Registers one instance of every kind that Curator can write, each as a service of its own.
 *
 * <p>System properties: zookeeper (host:port), root, address.
 */
public final class CuratorProvider {
    private static final UriSpec URI = new UriSpec("{scheme}://{address}:{port}");
    private static final Deque<AutoCloseable> OPEN = new ArrayDeque<>();

    private final CuratorFramework client;
    private final String root = System.getProperty("root");
    private final String address = System.getProperty("address");

    private CuratorProvider(CuratorFramework client) {
        this.client = client;
    }

    /** A payload class of an application's own. */
    public static final class Details {
        public String description = "warehouse";
        public int shard = 3;
    }

    public static void main(String[] args) throws Exception {
        CuratorFramework client =
                CuratorFrameworkFactory.newClient(System.getProperty("zookeeper"), new RetryOneTime(500));
        client.start();
        OPEN.push(client);
        Runtime.getRuntime().addShutdownHook(new Thread(CuratorProvider::close));
        new CuratorProvider(client).registerAll();
        System.out.println("READY");
        new CountDownLatch(1).await();
    }

    /** Deregisters everything and ends the session, as a well-behaved application does. */
    private static void close() {
        OPEN.forEach(open -> {
            try {
                open.close();
            } catch (Exception error) {
                System.err.println(error);
            }
        });
    }

    private void registerAll() throws Exception {
        register(Void.class, true, this.<Void>instance("no-payload", 8080));
        register(String.class, true, this.<String>instance("text-payload", 8082).payload("v2"));
        register(Map.class, true, this.<Map>instance("map-payload", 8083).address("vm11.corp").uriSpec(URI)
                .payload(Map.of("version", "v2", "zone", "eu-1a", "weight", 30)));
        register(Details.class, true, this.<Details>instance("class-payload", 8084).payload(new Details()));
        register(Void.class, true, this.<Void>instance("tls", 8085).sslPort(8443).uriSpec(URI));
        register(Void.class, true, ServiceInstance.<Void>builder()
                .name("tls-only").id("tls-only-1").address(address).sslPort(8444));
        register(Void.class, true,
                this.<Void>instance("sequential", 8086).serviceType(ServiceType.DYNAMIC_SEQUENTIAL));
        register(Void.class, true, this.<Void>instance("static", 8087).serviceType(ServiceType.STATIC));
        register(Void.class, false, this.<Void>instance("disabled", 8090).enabled(false));
        register(Void.class, false, this.<Void>instance("enabled", 8091).enabled(true));
        register(Void.class, true, this.<Void>instance("team/nested", 8093));
    }

    private <T> ServiceInstanceBuilder<T> instance(String name, int port) throws Exception {
        return ServiceInstance.<T>builder().name(name).id(name.replace('/', '-') + "-1").address(address).port(port);
    }

    private <T> void register(Class<T> payload, boolean compatible, ServiceInstanceBuilder<T> builder)
            throws Exception {
        JsonInstanceSerializer<T> serializer = new JsonInstanceSerializer<>(payload, compatible);
        ServiceDiscovery<T> discovery = ServiceDiscoveryBuilder.builder(payload)
                .client(client).basePath(root).serializer(serializer).build();
        discovery.start();
        OPEN.push(discovery);
        discovery.registerService(builder.build());
    }
}
