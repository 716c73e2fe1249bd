package meshbridge;

import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;

/** Registers itself; everything is told by arguments, such as --spring.application.name=catalog. */
@SpringBootApplication
public class SpringService {
    public static void main(String[] args) {
        SpringApplication.run(SpringService.class, args);
        System.out.println("READY");
    }
}
