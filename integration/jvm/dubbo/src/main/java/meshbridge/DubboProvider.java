package meshbridge;

import com.acme.OrderService;
import com.acme.PaymentService;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import org.apache.dubbo.config.ApplicationConfig;
import org.apache.dubbo.config.MetadataReportConfig;
import org.apache.dubbo.config.ProtocolConfig;
import org.apache.dubbo.config.RegistryConfig;
import org.apache.dubbo.config.ServiceConfig;
import org.apache.dubbo.config.bootstrap.DubboBootstrap;

/**
 * Provides two interfaces, by means of Dubbo's public API that 2.7 and 3.3 have in common.
 *
 * <p>System properties:
 * <ul>
 *   <li>zookeeper: host:port; root: root node of the interfaces, else Dubbo's own
 *   <li>app: application; protocols: dubbo:20880,tri:50051
 *   <li>group, version, weight, tag: of OrderService; PaymentService has none
 *   <li>metadata: true reports metadata to the same ZooKeeper
 * </ul>
 * The registered address is that of the environment variable DUBBO_IP_TO_REGISTRY.
 */
public final class DubboProvider {
    private DubboProvider() {}

    public static void main(String[] args) throws Exception {
        String zookeeper = "zookeeper://" + System.getProperty("zookeeper");
        ApplicationConfig app = new ApplicationConfig(System.getProperty("app"));
        app.setQosEnable(false);
        RegistryConfig registry = new RegistryConfig(zookeeper);
        registry.setGroup(System.getProperty("root"));
        DubboBootstrap bootstrap = DubboBootstrap.getInstance().application(app).registry(registry);
        if (Boolean.getBoolean("metadata")) {
            MetadataReportConfig report = new MetadataReportConfig();
            report.setAddress(zookeeper);
            report.setGroup(System.getProperty("root"));
            bootstrap.metadataReport(report);
        }

        List<ProtocolConfig> protocols = protocols();
        ServiceConfig<OrderService> orders = new ServiceConfig<>();
        orders.setId("orders");
        orders.setInterface(OrderService.class);
        orders.setRef(id -> "order " + id);
        orders.setProtocols(protocols);
        orders.setGroup(System.getProperty("group"));
        orders.setVersion(System.getProperty("version"));
        orders.setWeight(Integer.getInteger("weight"));
        orders.setTag(System.getProperty("tag"));
        ServiceConfig<PaymentService> payments = new ServiceConfig<>();
        payments.setId("payments");
        payments.setInterface(PaymentService.class);
        payments.setRef(order -> true);
        payments.setProtocols(protocols);
        bootstrap.protocols(protocols).service(orders).service(payments).start();
        System.out.println("READY");
        new CountDownLatch(1).await();
    }

    private static List<ProtocolConfig> protocols() {
        List<ProtocolConfig> protocols = new ArrayList<>();
        for (String item : System.getProperty("protocols").split(",")) {
            String[] parts = item.split(":");
            ProtocolConfig protocol = new ProtocolConfig(parts[0], Integer.parseInt(parts[1]));
            protocol.setId(parts[0]);
            protocols.add(protocol);
        }
        return protocols;
    }
}
